// Search, ratings and recommendations of the demo.
//
// Titles and ids are untrusted data: they are only ever set as text, never as
// HTML.

const STORAGE_KEY = "deep-recommender.ratings";
const PAUSE_MS = 200;
const RETRY_MS = 2000;
const NUM_REASONS = 3;

/** The ratings that can be given, lowest first. */
let choices = [];

/** {title, rating} by item id, the latest item last. */
let ratings = new Map();

/** What keeps each task from its answer. */
const problems = new Map();

const byId = (id) => document.getElementById(id);
const query = byId("query");

/** Asks the server that this page came from. */
async function ask(path, signal, body) {
  let response;
  try {
    response = await fetch(path, {
      signal,
      method: body ? "POST" : "GET",
      body: body && JSON.stringify(body),
    });
  } catch {
    throw new Error("The demo has ended: start python -m serving.demo again.");
  }
  const answer = await response.json();
  if (!response.ok) {
    throw new Error(answer.error);
  }
  return answer;
}

/**
 * Makes a task whose newest start alone counts.
 *
 * Starting it ends what it was doing, so that no old answer comes after a new
 * one. It is tried again until it succeeds; meanwhile the page says why.
 */
function makeTask(work) {
  let controller = new AbortController();

  function start(delayMs = 0) {
    controller.abort();
    controller = new AbortController();
    setTimeout(run, delayMs, controller.signal);
  }

  async function run(signal) {
    if (signal.aborted) {
      return;
    }
    try {
      const show = await work(signal);
      if (signal.aborted) {
        return;
      }
      problems.delete(start);
      show();
    } catch (error) {
      if (signal.aborted) {
        return;
      }
      problems.set(start, error.message);
      start(RETRY_MS);
    }
    showProblem();
  }

  return start;
}

const begin = makeTask(async (signal) => {
  const scale = await ask("api/scale", signal);
  return () => {
    choices = scale.choices;
    restoreRatings();
    showRatings();
    search();
    recommend();
  };
});

const search = makeTask(async (signal) => {
  const words = query.value.trim();
  const { items } = await ask(
    `api/items?${new URLSearchParams({ query: words })}`,
    signal,
  );
  return () => showFound(items, words);
});

const recommend = makeTask(async (signal) => {
  const asked = [...ratings].map(([id, { rating }]) => [id, rating]);
  const answer = await ask("api/recommendations", signal, {
    ratings: Object.fromEntries(asked),
  });
  return () => showRecommendations(answer, asked.length);
});

// ---- Ratings ----

function rate({ item_id, title }, rating, shownIn) {
  ratings.set(item_id, { title, rating });
  // Redraws the other list only: in this one the focus must stay.
  if (shownIn === byId("rated")) {
    showChoices(byId("found"));
  } else {
    showRatings();
  }
  saveRatings();
  recommend(PAUSE_MS);
}

function removeRating(itemId) {
  const rows = [...byId("rated").children];
  const place = rows.findIndex((row) => row.dataset.itemId === itemId);
  ratings.delete(itemId);
  showRatings();
  showChoices(byId("found"));
  saveRatings();
  recommend(PAUSE_MS);
  const next = byId("rated").children[Math.min(place, ratings.size - 1)];
  (next?.querySelector(".remove") ?? byId("rated-heading")).focus();
}

function saveRatings() {
  try {
    localStorage.setItem(STORAGE_KEY, JSON.stringify([...ratings]));
  } catch {
    // Without storage the ratings last as long as the page.
  }
}

function restoreRatings() {
  try {
    // Stored ratings of another model may be on another scale.
    ratings = new Map(
      JSON.parse(localStorage.getItem(STORAGE_KEY) ?? "[]").filter(
        ([, { rating }]) => choices.includes(rating),
      ),
    );
  } catch {
    ratings = new Map();
  }
}

// ---- What is shown ----

function copyOf(templateId) {
  return byId(templateId).content.firstElementChild.cloneNode(true);
}

function showProblem() {
  const [problem] = problems.values();
  const text = problem ? `${problem} Trying again …` : "";
  // Set only when it changes, because screen readers read it aloud.
  if (byId("problem").textContent !== text) {
    byId("problem").textContent = text;
  }
}

function showFound(items, words) {
  byId("found").replaceChildren(
    ...items.map((item) => makeRatingRow(item, byId("found"))),
  );
  showChoices(byId("found"));
  byId("found-status").textContent = !words
    ? "Rated most often:"
    : items.length
      ? `Best matches of “${words}”:`
      : `No title holds all words of “${words}”.`;
}

function showRatings() {
  const items = [...ratings].map(([item_id, { title }]) => ({ item_id, title }));
  byId("rated").replaceChildren(
    ...items.reverse().map((item) => makeRatingRow(item, byId("rated"))),
  );
  showChoices(byId("rated"));
  byId("rated-status").textContent = items.length ? "" : "None yet.";
}

function makeRatingRow(item, list) {
  const row = copyOf("rating-row");
  row.dataset.itemId = item.item_id;
  row.querySelector(".title").textContent = item.title;
  row.querySelector("legend").textContent = `Your rating of ${item.title}`;
  const remove = row.querySelector(".remove");
  if (list === byId("rated")) {
    remove.ariaLabel = `Remove ${item.title}`;
    remove.addEventListener("click", () => removeRating(item.item_id));
  } else {
    remove.remove();
  }
  const group = row.querySelector(".choices");
  group.classList.add(...choiceClasses());
  for (const choice of choices) {
    const label = copyOf("choice");
    const radio = label.querySelector("input");
    radio.name = `${list.id} ${item.item_id}`;
    radio.value = choice;
    radio.ariaLabel = describeRating(choice);
    radio.addEventListener("change", () => {
      rate(item, choice, list);
      showChoices(list);
    });
    label.title = describeRating(choice);
    label.querySelector("span").textContent = hasStars()
      ? ""
      : formatRating(choice);
    group.append(label);
  }
  return row;
}

/** Marks the rating of each row as it is now. */
function showChoices(list) {
  for (const row of list.children) {
    const rating = ratings.get(row.dataset.itemId)?.rating;
    for (const radio of row.querySelectorAll("input")) {
      radio.checked = Number(radio.value) === rating;
    }
    row.querySelector(".given").textContent =
      rating === undefined ? "" : formatRating(rating);
  }
}

function showRecommendations({ items, num_known_items }, numRatings) {
  const list = byId("recommended");
  const isFirst = !list.children.length;
  const shown = new Set([...list.children].map((row) => row.dataset.itemId));
  list.replaceChildren(
    ...items.map((item) => {
      const row = makeRecommendation(item);
      row.classList.toggle("new", !isFirst && !shown.has(item.item_id));
      return row;
    }),
  );
  const numUnknown = numRatings - num_known_items;
  byId("recommended-status").textContent =
    (numRatings
      ? `From your ${count(numRatings, "rating")}, with what you would rate them.`
      : "To anyone who has not rated yet.") +
    (numUnknown ? ` The model does not know ${numUnknown} of them.` : "");
}

function makeRecommendation(item) {
  const row = copyOf("recommendation");
  row.dataset.itemId = item.item_id;
  row.querySelector(".title").textContent = item.title;
  row.querySelector(".prediction").append(item.predicted_rating.toFixed(2));
  const find = row.querySelector(".find");
  find.ariaLabel = `Rate ${item.title}`;
  find.addEventListener("click", () => {
    query.value = item.title;
    query.focus();
    search();
  });
  // The strongest, except those that would show as 0.00; positive ones first.
  const reasons = item.reasons
    .filter(({ contribution }) => Math.abs(contribution) >= 0.005)
    .slice(0, NUM_REASONS)
    .sort((one, other) => other.contribution - one.contribution);
  row.querySelector(".reasons").append(...reasons.map(makeReason));
  return row;
}

function makeReason({ title, rating, contribution }) {
  const row = copyOf("reason");
  const raises = contribution >= 0;
  row.classList.add(raises ? "raises" : "lowers");
  row.querySelector(".contribution").textContent =
    (raises ? "+" : "−") + Math.abs(contribution).toFixed(2);
  row.querySelector(".because").textContent =
    `${raises ? "because" : "although"} you gave` +
    ` ${describeRating(rating)} to ${title}`;
  return row;
}

// ---- Ratings in words ----

function hasStars() {
  return choices[0] === 1 || choices[0] === 0.5;
}

function choiceClasses() {
  return hasStars()
    ? ["stars", choices[0] === 0.5 ? "halves" : "wholes"]
    : ["numbers"];
}

function describeRating(rating) {
  return hasStars() ? count(rating, "star") : formatRating(rating);
}

function count(number, noun) {
  return `${formatRating(number)} ${noun}${number === 1 ? "" : "s"}`;
}

/** Without the digits that a 32-bit number has too many. */
function formatRating(rating) {
  return String(Number(rating.toPrecision(6)));
}

query.addEventListener("input", () => search(PAUSE_MS));
begin();

"""Leads to every command of the project.

python -m deep_recommender COMMAND [flags of the command]
"""

import runpy
import sys

#: Name of each command, the module that runs it, and what it does.
COMMANDS = {
    "prepare": ("data_prep.task", "turns ratings into training data"),
    "train": ("trainer.task", "trains, evaluates and exports a model"),
    "evaluate": ("trainer.evaluate", "measures a trained job on other data"),
    "compare": ("trainer.compare", "compares models on your own ratings"),
    "search": ("trainer.search", "searches for a better recipe overnight"),
    "export": ("export.task", "exports a trained job again"),
    "score": ("export.score", "writes recommendations for all users to files"),
    "serve": ("serving.local_server", "serves exported models over REST, gRPC"),
    "ask": ("serving.client", "asks a server for recommendations"),
    "demo": ("serving.demo", "shows a model on a web page"),
}

_PROGRAM = "python -m deep_recommender"


def main() -> None:
    """Runs the command that the first argument names."""
    command, *arguments = sys.argv[1:] or ["--help"]
    if command in ("-h", "--help", "help"):
        sys.stdout.write(_describe())
        return
    if command not in COMMANDS:
        sys.stderr.write(
            f"error: unknown command {command!r}. The commands are:"
            f" {', '.join(COMMANDS)}.\n"
        )
        sys.exit(2)
    module, _ = COMMANDS[command]
    sys.argv[1:] = arguments
    runpy.run_module(module, run_name="__main__", alter_sys=True)


def _describe() -> str:
    commands = "".join(
        f"  {name:<8} {summary}\n" for name, (_, summary) in COMMANDS.items()
    )
    return (
        f"usage: {_PROGRAM} COMMAND [flags]\n\n{commands}\n"
        f"`{_PROGRAM} COMMAND --help` lists the flags of a command.\n"
    )


if __name__ == "__main__":
    main()

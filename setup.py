"""Packages deep-recommender.

The file reads nothing beside itself, so that it also works where only the
packages and this file are copied, as cloud trainers do.
"""

import sys

from setuptools import find_packages, setup

# TensorFlow 2.21 has wheels for these.
if not (3, 11) <= sys.version_info < (3, 14):
    sys.exit(
        "deep-recommender needs Python 3.11, 3.12 or 3.13, which TensorFlow"
        f" 2.21 has. This is {sys.version.split()[0]}: {sys.executable}"
    )

# What brings models to compare with.
COMPARED = ["cornac>=3.0.1,<4", "scikit-surprise>=1.1.5"]

setup(
    name="deep-recommender",
    version="0.2.0",
    description=(
        "Deep autoencoder recommender (Kuchaiev and Ginsburg, 2017) on"
        " TensorFlow: data preparation, training, export and serving."
    ),
    license="MIT",
    keywords=["recommender", "collaborative filtering", "autoencoder"],
    classifiers=[
        "Development Status :: 4 - Beta",
        "Environment :: Console",
        "Intended Audience :: Developers",
        "Intended Audience :: Science/Research",
        "Operating System :: MacOS",
        "Operating System :: POSIX :: Linux",
        "Programming Language :: Python :: 3 :: Only",
        "Programming Language :: Python :: 3.11",
        "Programming Language :: Python :: 3.12",
        "Programming Language :: Python :: 3.13",
        "Topic :: Scientific/Engineering :: Artificial Intelligence",
        "Typing :: Typed",
    ],
    python_requires=">=3.11,<3.14",
    packages=find_packages(
        include=[
            "data_prep*",
            "deep_recommender*",
            "export*",
            "serving*",
            "tensorflow_startup*",
            "trainer*",
        ]
    ),
    package_data={"*": ["py.typed"], "serving.demo": ["page/*"]},
    entry_points={
        "console_scripts": ["deep-recommender=deep_recommender.__main__:main"]
    },
    install_requires=[
        "absl-py>=2.1",
        "duckdb>=2,<3",
        "google-crc32c>=1.5",
        "grpcio>=1.70",
        # tensorflow-datasets 4.9.10 imports it without requiring it.
        "importlib_resources>=6",
        "keras>=3.15,<4",
        # Every job ends with a report.
        "matplotlib>=3.9",
        "numba>=0.65",
        "numpy>=2",
        # The data sets of the package registry are fetched with pip.
        "pip>=23",
        "protobuf>=6.31",
        "pyarrow>=18",
        # TensorFlow no longer brings it; its event files need it.
        "tensorboard>=2.20",
        "tensorflow>=2.21,<2.22",
        "tensorflow-datasets>=4.9.10,<5",
        "tensorflow-serving-api>=2.21,<2.22",
        "uvicorn>=0.30",
        # It does not support Windows.
        "uvloop>=0.21; sys_platform != 'win32'",
    ],
    extras_require={
        # Needs an older protobuf and pyarrow: an environment of its own.
        "beam": ["apache-beam>=2.77,<3"],
        "compare": COMPARED,
        "gpu": ["tensorflow[and-cuda]>=2.21,<2.22"],
        "dev": [
            *COMPARED,
            "axe-playwright-python>=0.1.5",
            "build>=1.2",
            "hypothesis>=6.100",
            "mypy>=1.15",
            "pandas>=2.2",
            "playwright>=1.50",
            "polars>=1.20",
            "pre-commit>=4",
            "pytest>=9",
            "pytest-xdist>=3.6",
            "PyYAML>=6",
            # What the metrics are checked against.
            "ranx>=0.3.21",
            "ruff>=0.14",
            "scikit-learn>=1.6",
        ],
    },
)

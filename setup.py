"""Packages deep-recommender.

The file reads nothing beside itself, so that it also works where only the
packages and this file are copied, as cloud trainers do.
"""

from setuptools import find_packages, setup

setup(
    name="deep-recommender",
    version="0.1.0",
    description=(
        "Deep autoencoder recommender (Kuchaiev and Ginsburg, 2017) on"
        " TensorFlow: data preparation, training, export and serving."
    ),
    license="MIT",
    python_requires=">=3.11",
    packages=find_packages(
        include=["data_prep*", "trainer*", "export*", "serving*"]
    ),
    package_data={"serving.demo": ["page/*"]},
    install_requires=[
        "absl-py>=2.1",
        "duckdb>=2,<3",
        "google-crc32c>=1.5",
        "grpcio>=1.70",
        # tensorflow-datasets 4.9.10 imports it without requiring it.
        "importlib_resources>=6",
        "keras>=3.15,<4",
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
        # It does not know Windows.
        "uvloop>=0.21; sys_platform != 'win32'",
    ],
    extras_require={
        # Needs an older protobuf and pyarrow: an environment of its own.
        "beam": ["apache-beam>=2.77,<3"],
        "dev": [
            "axe-playwright-python>=0.1.5",
            "build>=1.2",
            "hypothesis>=6.100",
            "mypy>=1.15",
            "playwright>=1.50",
            "pre-commit>=4",
            "pytest>=9",
            "pytest-xdist>=3.6",
            "PyYAML>=6",
            "ruff>=0.14",
        ],
    },
)

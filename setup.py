"""Installs the packages of the library; the scripts run from the checkout.

Install into a virtual environment of its own (`make setup` does): the packages have general names.
"""

from setuptools import setup

setup(
    name="bert-tf2-reference",
    version="0.1.0",
    description="BERT in TensorFlow 2 and Keras 3, command for command as google-research/bert",
    python_requires=">=3.10",
    packages=["modeling", "tokenization", "training", "pretraining", "finetuning"],
    # tensorflow and tensorflow-text must be of one minor version; requirements/ pins what is tested.
    install_requires=[
        "tensorflow>=2.20,<2.22",
        "tensorflow-text>=2.20,<2.22",
        "keras>=3.10",
        "numpy",
        "absl-py",
        "safetensors",
        "ijson",
        "scipy",
        "scikit-learn",
        "seqeval",
    ],
    extras_require={
        "test": ["pytest", "pytest-xdist", "ruff"],
        "tensorboard": ["tensorboard"],
        "zstd": ["backports.zstd"],
        "corpus": ["sentencex", "mwparserfromhell"],
        "beam": ["apache-beam"],
    },
    classifiers=["Private :: Do Not Upload"],
)

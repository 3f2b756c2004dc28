"""hubreg: a self-hosted registry that speaks the Hugging Face Hub's protocol."""

__version__ = "0.1.0"

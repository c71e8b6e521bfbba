"""Vision-language models: what Transformers' `AutoModelForImageTextToText` loads, and adapters of it."""

"""Build the dataset folder that a recipe describes. `pipeline.build` is the entry point."""

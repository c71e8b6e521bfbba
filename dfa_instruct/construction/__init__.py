"""Building the dataset folder that a recipe describes: `pipeline.build`, and what it is made of."""

"""Reports of a benchmark run: Markdown, plots, and the tables of the paper."""

"""Looking at a dataset folder: counts and their figure, a contact sheet, and every promise checked."""

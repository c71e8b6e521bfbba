"""The app: a person puts in a picture, sees what the model says of it and where, and talks on. `page` is its page."""

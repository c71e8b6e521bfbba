"""The web page where a person uploads a picture, sees the model's verdict and asks questions. Start with `page`."""

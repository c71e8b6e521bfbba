"""Publishing: model cards, pushing an adapter or a merged model, pushing the page as a Space."""

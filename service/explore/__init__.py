"""`loc2vec explore`: what opens the data that its figures are made of."""

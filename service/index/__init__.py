"""The neighbour index: FAISS, search with filters, its places on the map."""

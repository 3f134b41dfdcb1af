"""The Yelp set of the catalogue."""

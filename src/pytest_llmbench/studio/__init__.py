"""A local web application over the library: choose a model, upload a dataset, train, watch, try, compare."""

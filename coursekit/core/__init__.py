"""The ground floor: what several topics stand on. Nothing here imports a topic or a data set."""

"""Where the files of a graph are on this machine, and the routes that the frontend asks."""

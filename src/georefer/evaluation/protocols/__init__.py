"""Published scorers, reproduced on their own file formats, one file each; what they do differently is said in each."""

"""What a person sees of a run, real or simulated: the tree, the rounds, the tables at the end."""

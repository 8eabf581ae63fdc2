"""A queue of runs that differ in their settings and seeds, and what they come to side by side."""

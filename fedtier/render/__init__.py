"""From a federation to the files its machines need: nodes, brokers, units, instructions."""

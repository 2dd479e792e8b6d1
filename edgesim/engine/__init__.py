"""Clock, devices, network and faults: when things happen. SimPy lives here and in training."""

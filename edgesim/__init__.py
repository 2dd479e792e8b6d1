"""edgesim: what happens when this model is trained on these devices, over this network, by this method."""

__version__ = "0.1.0"

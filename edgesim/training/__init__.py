"""The training systems as SimPy processes: what is computed and sent."""

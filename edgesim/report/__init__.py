"""What a timeline says: metrics, explanation, figures, Perfetto traces."""

"""What the page shows, as functions of opened runs, images and codes: no gradio, no state, nothing is written but the
figures that a caller names."""

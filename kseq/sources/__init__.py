"""Where samples come from: one module for each form in which image collections lie around."""

"""What is here and how it is: health, models, toolsets, skills, capabilities, metrics."""

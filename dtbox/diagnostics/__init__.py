"""What one measures about parts and runs, apart from training and evaluation."""

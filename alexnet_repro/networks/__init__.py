"""Networks: layers, AlexNet and its variants, towers, weights."""

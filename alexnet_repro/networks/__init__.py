"""What is computed: layers, AlexNet and its variants, towers, weights."""

"""Training a network on the user's images: `edgecnn train`."""

"""Making the network smaller before it is exported. Stages registered here change the torch model."""

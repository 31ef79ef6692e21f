//! Data sets for density models: toys with known densities, MNIST, digits, tables, your own files

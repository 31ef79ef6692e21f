//! Figures of normalizing flows: arrays in, PNG and GIF bytes out

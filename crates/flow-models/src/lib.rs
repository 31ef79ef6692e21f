//! A zoo of normalizing flows: NICE, RealNVP, their conditioners, presets and model files

//! The maths of normalizing flows on libtorch: bijections, bases, flows, and checks of them

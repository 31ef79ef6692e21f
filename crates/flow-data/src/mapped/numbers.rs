//! What the values of a mapped file are, and how their bytes become numbers.

/// What a value in a file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Element {
    /// A byte k as the level k / 2^`shift`, rounded down, one of `levels`.
    Levels { levels: u32, shift: u8 },
    /// A number as a real one.
    Real(Number),
}

/// Declares the types of numbers, and the one place that tells them apart.
macro_rules! numbers {
    ($($number:ident: $type:ty),*) => {
        /// A type of number, of this machine's byte order.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(crate) enum Number {
            $($number),*
        }

        impl Number {
            /// Whether every number of the type is a finite `f32`.
            pub fn always_finite(self) -> bool {
                !matches!(self, Number::F32 | Number::F64)
            }

            /// Hands the numbers to `reader`, as bytes and what they mean.
            pub(super) fn read<T>(self, reader: impl ReadNumbers<T>) -> T {
                match self {
                    $(Number::$number => reader.read(|bytes| <$type>::from_ne_bytes(bytes) as f64)),*
                }
            }
        }
    };
}

numbers!(U8: u8, F32: f32, F64: f64, I64: i64, I32: i32, I16: i16, I8: i8, U16: u16, U32: u32, U64: u64);

/// Something that reads numbers of any size.
pub(super) trait ReadNumbers<T> {
    /// Reads them, given what `N` bytes mean.
    fn read<const N: usize>(self, number: impl Fn([u8; N]) -> f64) -> T;
}

//! Values that peers spell in more than one way.
//!
//! Owns `named!` (enums that travel by name) and [`LenientInt`]. Both forgive: a name in another
//! case, an ordinal, a number in quotes. An unknown name is the default, because a heartbeat must not
//! fail over a word that is only displayed.

use serde::de::{self, Deserialize, Deserializer, Visitor};
use serde::{Serialize, Serializer};
use std::fmt;

/// Declares enums that travel by name; the one marked `#[default]` stands for unknown names.
macro_rules! named {
    ($(
        $(#[$meta:meta])*
        pub enum $name:ident { $($(#[$variant_meta:meta])* $variant:ident = $wire:literal,)* }
    )*) => {$(
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
        pub enum $name { $($(#[$variant_meta])* $variant,)* }

        impl $name {
            /// Every variant, in RocketMQ's order.
            pub const ALL: &[$name] = &[$($name::$variant,)*];

            /// The name on the wire.
            pub const fn name(self) -> &'static str {
                match self { $($name::$variant => $wire,)* }
            }

            /// From a name in any case.
            pub fn from_name(name: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|value| value.name().eq_ignore_ascii_case(name))
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.name())
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                $crate::bodies::named::by_name(deserializer, Self::ALL, Self::from_name)
            }
        }
    )*};
}

pub(super) use named;

/// Reads an enum by name or ordinal; anything unknown is its default.
pub(super) fn by_name<'de, T, D>(
    deserializer: D,
    all: &'static [T],
    from_name: fn(&str) -> Option<T>,
) -> Result<T, D::Error>
where
    T: Copy + Default,
    D: Deserializer<'de>,
{
    struct ByName<T: 'static>(&'static [T], fn(&str) -> Option<T>);

    impl<T: Copy + Default> Visitor<'_> for ByName<T> {
        type Value = T;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a name")
        }

        fn visit_str<E: de::Error>(self, name: &str) -> Result<T, E> {
            Ok(self.1(name).unwrap_or_default())
        }

        fn visit_u64<E: de::Error>(self, ordinal: u64) -> Result<T, E> {
            let index = usize::try_from(ordinal).unwrap_or(usize::MAX);
            Ok(self.0.get(index).copied().unwrap_or_default())
        }

        fn visit_unit<E: de::Error>(self) -> Result<T, E> {
            Ok(T::default())
        }
    }

    deserializer.deserialize_any(ByName(all, from_name))
}

/// An integer that Java writes as a number and Go as a string.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LenientInt(pub i64);

impl Serialize for LenientInt {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_i64(self.0)
    }
}

impl<'de> Deserialize<'de> for LenientInt {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Lenient;

        impl Visitor<'_> for Lenient {
            type Value = LenientInt;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an integer or an integer in quotes")
            }

            fn visit_i64<E: de::Error>(self, value: i64) -> Result<LenientInt, E> {
                Ok(LenientInt(value))
            }

            fn visit_u64<E: de::Error>(self, value: u64) -> Result<LenientInt, E> {
                i64::try_from(value).map(LenientInt).map_err(E::custom)
            }

            fn visit_str<E: de::Error>(self, value: &str) -> Result<LenientInt, E> {
                value.parse().map(LenientInt).map_err(E::custom)
            }
        }

        deserializer.deserialize_any(Lenient)
    }
}

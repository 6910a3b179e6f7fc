// SPDX-License-Identifier: MIT OR Apache-2.0

//! Macros that turn field tables into types.

/// Defines a structure that is encoded as a map: `id required|optional name: type` for each field.
macro_rules! message {
    (
        $(#[$meta:meta])*
        pub struct $name:ident {
            $($(#[$field_meta:meta])* $id:literal $presence:ident $field:ident: $ty:ty,)*
        }
    ) => {
        $(#[$meta])*
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub struct $name {
            $($(#[$field_meta])* pub $field: $crate::mbor::message!(@type $presence $ty),)*
        }

        impl $crate::mbor::Encode for $name {
            fn encode(
                &self,
                encoder: &mut $crate::mbor::Encoder,
            ) -> Result<(), $crate::mbor::EncodeError> {
                let fields: &[bool] = &[$($crate::mbor::message!(@present $presence self.$field)),*];
                encoder.map(fields.iter().filter(|present| **present).count())?;
                $($crate::mbor::message!(@encode $presence encoder, $id, self.$field);)*
                Ok(())
            }
        }

        impl $crate::mbor::Decode for $name {
            fn decode(
                decoder: &mut $crate::mbor::Decoder<'_>,
            ) -> Result<Self, $crate::mbor::DecodeError> {
                #[allow(unused_mut, reason = "a map without fields")]
                let mut map = decoder.map()?;
                $(let $field = map.$presence($id)?;)*
                map.finish()?;
                Ok(Self { $($field),* })
            }
        }
    };
    (@type required $ty:ty) => { $ty };
    (@type optional $ty:ty) => { Option<$ty> };
    (@present required $value:expr) => { true };
    (@present optional $value:expr) => { $value.is_some() };
    (@encode required $encoder:ident, $id:literal, $value:expr) => { $encoder.field($id, &$value)? };
    (@encode optional $encoder:ident, $id:literal, $value:expr) => {
        if let Some(value) = &$value {
            $encoder.field($id, value)?;
        }
    };
}

/// Defines an enumeration that keeps values it has no name for.
macro_rules! open_enum {
    (
        $(#[$meta:meta])*
        pub struct $name:ident($repr:ty) {
            $($(#[$value_meta:meta])* $value_name:ident = $value:literal,)*
        }
    ) => {
        $(#[$meta])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(pub $repr);

        #[allow(non_upper_case_globals, reason = "values are named as those of an enum")]
        impl $name {
            $($(#[$value_meta])* pub const $value_name: Self = Self($value);)*

            /// Returns the name of the value, if it has one.
            pub const fn name(self) -> Option<&'static str> {
                match self.0 {
                    $($value => Some(stringify!($value_name)),)*
                    _ => None,
                }
            }
        }

        impl std::fmt::Debug for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                match self.name() {
                    Some(name) => f.write_str(name),
                    None => write!(f, "{}({:#x})", stringify!($name), self.0),
                }
            }
        }

        impl $crate::mbor::Encode for $name {
            fn encode(
                &self,
                encoder: &mut $crate::mbor::Encoder,
            ) -> Result<(), $crate::mbor::EncodeError> {
                self.0.encode(encoder)
            }
        }

        impl $crate::mbor::Decode for $name {
            fn decode(
                decoder: &mut $crate::mbor::Decoder<'_>,
            ) -> Result<Self, $crate::mbor::DecodeError> {
                $crate::mbor::Decode::decode(decoder).map(Self)
            }
        }
    };
}

pub(crate) use message;
pub(crate) use open_enum;

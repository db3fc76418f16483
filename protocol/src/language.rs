//! The language a peer says it is written in.
//!
//! Owns the names and numbers of RocketMQ's `LanguageCode`. Nothing depends on the language except
//! the connection lists that admin tools show, so an unknown one is never an error.

macro_rules! languages {
    ($($variant:ident = $byte:literal $name:literal,)*) => {
        /// The language of a client, as connection lists show it.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[allow(missing_docs)]
        pub enum Language { $($variant,)* }

        impl Language {
            /// The name in a JSON header.
            pub const fn name(self) -> &'static str {
                match self { $(Language::$variant => $name,)* }
            }

            /// The byte in a binary header.
            pub const fn to_byte(self) -> u8 {
                match self { $(Language::$variant => $byte,)* }
            }

            /// From the bytes of a name in a JSON header; an unknown one is [`Language::Other`].
            pub fn from_name(name: &[u8]) -> Self {
                $(if name == $name.as_bytes() {
                    return Language::$variant;
                })*
                Language::Other
            }

            /// From a binary header; an unknown byte is [`Language::Other`].
            pub const fn from_byte(byte: u8) -> Self {
                match byte { $($byte => Language::$variant,)* _ => Language::Other }
            }
        }
    };
}

languages! {
    Java = 0 "JAVA",
    Cpp = 1 "CPP",
    Dotnet = 2 "DOTNET",
    Python = 3 "PYTHON",
    Delphi = 4 "DELPHI",
    Erlang = 5 "ERLANG",
    Ruby = 6 "RUBY",
    Other = 7 "OTHER",
    Http = 8 "HTTP",
    Go = 9 "GO",
    Php = 10 "PHP",
    Oms = 11 "OMS",
    Rust = 12 "RUST",
    NodeJs = 13 "NODE_JS",
}

impl Default for Language {
    /// What a header without a language is taken for.
    fn default() -> Self {
        Language::Other
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_bytes_lead_back() {
        for byte in 0..14 {
            let language = Language::from_byte(byte);
            assert_eq!(language.to_byte(), byte);
            assert_eq!(Language::from_name(language.name().as_bytes()), language);
        }
        assert_eq!(Language::from_byte(200), Language::Other);
        assert_eq!(Language::from_name(b"KLINGON"), Language::Other);
    }
}

//! The settings: one row per key, and everything that follows from the rows.
//!
//! A row says a setting's RocketMQ key, type, default, form, whether it can change while the broker runs, and what it means
//! (`broker.rs`, `namesrv.rs`). From the rows come the typed structs, reading of broker.conf and command-line overrides
//! (`load.rs`), changes at run time, the listing of effective values, and the page `docs/settings.md` (`page.rs`).
//! This module reads text it is given; it never opens a file and never looks at the machine (see [`Host`]).

mod broker;
mod form;
mod java_keys;
mod load;
mod namesrv;
mod nearest;
pub mod page;
pub mod properties;

pub use broker::{BrokerSettings, EmbeddedNamesrv, FlushDiskType, RequestMode, StoreSettings};
pub use form::{Form, Unit, Value};
pub use load::{Changed, Given, Loaded, Notice, Refused, Source, first_listed, load};
pub use namesrv::NamesrvSettings;
pub use page::page;

/// What defaults depend on: facts about the machine, found out by whoever starts the process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Host {
    /// Host name; the default broker name is made of it.
    pub name: String,
    /// Home directory of the user; the default data directory lies in it.
    pub home: String,
}

/// One row of a settings table.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    /// Heading the row stands under in listings and in the documentation.
    pub section: &'static str,
    /// Key in broker.conf or namesrv.conf; RocketMQ's own where RocketMQ has the setting.
    pub key: &'static str,
    /// Shape, unit and range.
    pub form: Form,
    /// Whether updateBrokerConfig (25, 318) may change it.
    pub when: When,
    /// What it does, for people.
    pub meaning: &'static str,
}

/// When a setting takes effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// Read once, at start.
    AtStart,
    /// May be changed while the process runs.
    AnyTime,
}

/// A struct of settings made by the `settings!` table.
pub trait Settings: Clone + Sized {
    /// The rows in the order they are listed.
    const ROWS: &'static [Row];

    /// Every setting at its default.
    fn defaults(host: &Host) -> Self;

    /// Sets one value; `None` when no row has this key, `Some(false)` when the text does not fit the row's form.
    fn set(&mut self, key: &str, text: &str) -> Option<bool>;

    /// The value of a key as text; `None` when no row has it.
    fn get(&self, key: &str) -> Option<String>;

    /// Whether the Java broker (or name server) knows this key.
    fn is_java_key(key: &str) -> bool;

    /// Refuses combinations that no row can judge alone: the key at fault and what is expected of it.
    fn check(&self) -> Result<(), (&'static str, String)>;
}

/// Makes a struct of settings, grouped into one struct per section, from a table with one row per setting:
///
/// `"key" field: Type = default, form, AtStart | AnyTime, "meaning";`
macro_rules! settings {
    (
        $(#[$meta:meta])*
        $vis:vis struct $name:ident($host:ident);
        java $is_java_key:path;
        check $check:path;
        $(
            section $section:ident: $Section:ident $title:literal {
                $($key:literal $field:ident: $ty:ty = $default:expr, $form:expr, $when:ident, $meaning:literal;)*
            }
        )*
    ) => {
        $(#[$meta])*
        #[derive(Clone, Debug, PartialEq, Eq)]
        $vis struct $name { $( #[doc = $title] pub $section: $Section, )* }

        $(
            #[doc = $title]
            #[derive(Clone, Debug, PartialEq, Eq)]
            $vis struct $Section { $( #[doc = $meaning] pub $field: $ty, )* }
        )*

        impl $crate::settings::Settings for $name {
            const ROWS: &'static [$crate::settings::Row] = &[$($(
                $crate::settings::Row {
                    section: $title,
                    key: $key,
                    form: $form,
                    when: $crate::settings::When::$when,
                    meaning: $meaning,
                },
            )*)*];

            fn defaults($host: &$crate::settings::Host) -> Self {
                Self { $( $section: $Section { $( $field: $default, )* }, )* }
            }

            fn set(&mut self, key: &str, text: &str) -> Option<bool> {
                match key {
                    $($( $key => match <$ty as $crate::settings::Value>::read(text, &$form) {
                        Some(value) => {
                            self.$section.$field = value;
                            Some(true)
                        }
                        None => Some(false),
                    }, )*)*
                    _ => None,
                }
            }

            fn get(&self, key: &str) -> Option<String> {
                match key {
                    $($( $key => Some(<$ty as $crate::settings::Value>::print(&self.$section.$field)), )*)*
                    _ => None,
                }
            }

            fn is_java_key(key: &str) -> bool {
                $is_java_key(key)
            }

            fn check(&self) -> Result<(), (&'static str, String)> {
                $check(self)
            }
        }
    };
}
use settings;

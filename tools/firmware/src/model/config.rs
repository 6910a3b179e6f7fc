// SPDX-License-Identifier: MIT OR Apache-2.0

//! Configuration of a model.

use std::{fmt, time::Duration};

use super::Model;

/// How often a login may fail before it is delayed (protocol section 4.5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LoginPolicy {
    /// Failures in a row before the first delay.
    pub allowed_failures: u32,
    /// Delay after that; each further `allowed_failures` failures add as much again.
    pub delay: Duration,
}

impl Default for LoginPolicy {
    fn default() -> Self {
        Self {
            allowed_failures: 1000,
            delay: Duration::from_secs(60),
        }
    }
}

#[derive(Clone, Default)]
pub(super) struct Config {
    pub(super) test_key: Option<[u8; 32]>,
    pub(super) fips_approved: bool,
    pub(super) login: LoginPolicy,
}

impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Config")
            .field("has_test_key", &self.test_key.is_some())
            .field("fips_approved", &self.fips_approved)
            .field("login", &self.login)
            .finish()
    }
}

/// Configures a [`Model`].
#[derive(Clone, Debug, Default)]
pub struct Builder {
    config: Config,
}

impl Builder {
    /// **Insecure, for tests only**: takes away the randomness of AES keys.
    ///
    /// Each key made is `key` XOR the label of the key (repeated as often as it takes; an empty label leaves `key` as
    /// it is), cut to the size of the key. A test that knows `key` can so compute what the device must answer,
    /// and tell keys apart by label. XTS needs two keys with different labels. Everything else, initialisation
    /// vectors included, stays random.
    #[must_use]
    pub fn test_key(mut self, key: [u8; 32]) -> Self {
        self.config.test_key = Some(key);
        self
    }

    /// Sets the FIPS approval flag that the device reports (section 8.5); it is off by default.
    #[must_use]
    pub fn fips_approved(mut self, approved: bool) -> Self {
        self.config.fips_approved = approved;
        self
    }

    /// Sets how failed logins are delayed.
    #[must_use]
    pub fn login_policy(mut self, policy: LoginPolicy) -> Self {
        self.config.login = policy;
        self
    }

    /// Makes the model.
    pub fn build(self) -> Model {
        if self.config.test_key.is_some() {
            tracing::warn!("INSECURE: AES keys are made from a test key and are not random");
        }
        Model::new(self.config)
    }
}

//! Profiles of `~/.aws/credentials` and `~/.aws/config`: fixed keys and `credential_process`.
//!
//! Profiles that log in somewhere (`sso_...`, `role_arn`) are refused by name: another program has to
//! do that, and `credential_process` lets it.

use crate::error::{Error, Result, did_you_mean};
use crate::lake::bucket::Environment;
use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

/// Keys that say how a profile logs in elsewhere.
const ELSEWHERE: &[&str] = &[
    "sso_session",
    "sso_start_url",
    "sso_account_id",
    "role_arn",
    "source_profile",
    "web_identity_token_file",
    "login_session",
];

/// What the two files hold.
#[derive(Debug, Default)]
pub(super) struct Profiles {
    /// The settings of each profile; those of the credentials file win. May hold secrets.
    sections: BTreeMap<String, BTreeMap<String, String>>,
    name: String,
    /// Whether the environment names the profile.
    is_named: bool,
}

/// Where a profile's credentials are.
pub(super) enum Profile {
    /// In the file.
    Keys {
        /// The profile.
        name: String,
        /// The access key's id.
        id: String,
        /// The secret.
        secret: String,
        /// The session's token.
        token: Option<String>,
    },
    /// With a program.
    Process {
        /// The profile.
        name: String,
        /// The program and its arguments, as a shell reads them.
        command: String,
    },
}

impl Profiles {
    /// Reads the files that the environment names, else those under the user's home; a file that is
    /// not there holds nothing.
    ///
    /// # Errors
    /// Usage: a file that can't be read.
    pub(super) fn read(environment: Environment<'_>) -> Result<Self> {
        let set = |name: &str| environment(name).filter(|value| !value.is_empty());
        let file = |variable: &str, name: &str| {
            let usual = || set("HOME").map(|home| Path::new(&home).join(".aws").join(name));
            set(variable).map(PathBuf::from).or_else(usual)
        };
        let named = set("AWS_PROFILE").or_else(|| set("AWS_DEFAULT_PROFILE"));
        let is_named = named.is_some();
        let mut profiles = Self { name: named.unwrap_or_else(|| "default".to_owned()), is_named, ..Self::default() };
        // In the config file a section is `[profile x]`, in the credentials file it is `[x]`.
        profiles.add(file("AWS_CONFIG_FILE", "config"), true)?;
        profiles.add(file("AWS_SHARED_CREDENTIALS_FILE", "credentials"), false)?;
        Ok(profiles)
    }

    fn add(&mut self, path: Option<PathBuf>, is_config: bool) -> Result<()> {
        let Some(path) = path else { return Ok(()) };
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(missing) if matches!(missing.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => return Ok(()),
            Err(source) => {
                return Err(Error::usage("a file with profiles for S3 can't be read")
                    .with("file", path.display())
                    .because(source));
            }
        };
        for (section, key, value) in settings(&text) {
            let name = match section.strip_prefix("profile ") {
                Some(name) if is_config => name.trim(),
                None if !is_config || section == "default" => section,
                _ => continue,
            };
            self.sections.entry(name.to_owned()).or_default().insert(key, value);
        }
        Ok(())
    }

    /// A setting of the profile in use, such as `region`.
    pub(super) fn setting(&self, key: &str) -> Option<&str> {
        self.sections.get(&self.name)?.get(key).map(String::as_str).filter(|value| !value.is_empty())
    }

    /// The credentials of the profile that the environment names, or of `default` if it has any.
    ///
    /// # Errors
    /// Usage: a profile that is named and not there, or incomplete, or logs in elsewhere.
    pub(super) fn named(&self) -> Result<Option<Profile>> {
        let name = self.name.clone();
        let refuse = |what: &str| Error::usage(what.to_owned()).with("profile", &self.name);
        if !self.sections.contains_key(&self.name) {
            if !self.is_named {
                return Ok(None);
            }
            let error = refuse("there is no such profile for S3");
            return Err(match did_you_mean(&self.name, self.sections.keys().map(String::as_str)) {
                Some(near) => error.hint(format!("did you mean `{near}`?")),
                None => error.hint("profiles stand in ~/.aws/credentials and ~/.aws/config"),
            });
        }
        let get = |key: &str| self.setting(key).map(str::to_owned);
        match (get("aws_access_key_id"), get("aws_secret_access_key")) {
            (Some(id), Some(secret)) => {
                return Ok(Some(Profile::Keys { name, id, secret, token: get("aws_session_token") }));
            }
            (Some(_), None) => return Err(refuse("the profile for S3 lacks aws_secret_access_key")),
            (None, Some(_)) => return Err(refuse("the profile for S3 lacks aws_access_key_id")),
            (None, None) => {}
        }
        if let Some(command) = get("credential_process") {
            return Ok(Some(Profile::Process { name, command }));
        }
        if let Some(key) = ELSEWHERE.iter().find(|key| get(key).is_some()) {
            return Err(refuse("the profile for S3 logs in elsewhere, which lakemill does not do")
                .with("key", key)
                .hint(format!(
                    "make a profile with credential_process = aws configure export-credentials --profile {name} --format process"
                )));
        }
        // A default profile may hold nothing but a region.
        if self.is_named { Err(refuse("the profile for S3 holds no credentials")) } else { Ok(None) }
    }
}

/// The settings of an INI file with their sections. What is indented belongs to the setting above.
fn settings(text: &str) -> impl Iterator<Item = (&str, String, String)> {
    let mut section = "";
    text.lines().filter_map(move |line| {
        let plain = line.trim();
        if let Some(name) = plain.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
            section = name.0.trim();
            return None;
        }
        if line.starts_with([' ', '\t']) || plain.starts_with(['#', ';']) {
            return None;
        }
        let (key, value) = plain.split_once('=')?;
        // As AWS reads them, a remark begins with a blank before the sign.
        let value = value.split(" #").next().unwrap_or_default().split(" ;").next().unwrap_or_default();
        Some((section, key.trim().to_ascii_lowercase(), value.trim().to_owned()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lake::bucket::environment;

    const CONFIG: &str = "[default]\nregion = eu-central-1\n\n[profile login]\nsso_session = x\n\
                          [profile run]\ncredential_process = /bin/give --all # remark\nendpoint_url=https://h\n\
                          [lost]\naws_access_key_id = A\n";
    const CREDENTIALS: &str = "[nightly]\naws_access_key_id=AKIA1\nAWS_SECRET_ACCESS_KEY = HI/DD=EN\n\
                               s3 =\n  aws_access_key_id = nested\n[half]\naws_access_key_id = AKIA2\n";

    fn profiles(name: Option<&str>) -> Profiles {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str, text: &str| {
            std::fs::write(folder.path().join(name), text).unwrap();
            folder.path().join(name).display().to_string()
        };
        let (config, credentials) = (path("config", CONFIG), path("credentials", CREDENTIALS));
        let mut pairs = vec![("AWS_CONFIG_FILE", config.as_str()), ("AWS_SHARED_CREDENTIALS_FILE", &credentials)];
        pairs.extend(name.map(|name| ("AWS_PROFILE", name)));
        Profiles::read(&environment(&pairs)).unwrap()
    }

    #[test]
    fn keys_and_programs_are_found() {
        let Some(Profile::Keys { id, secret, token, .. }) = profiles(Some("nightly")).named().unwrap() else {
            panic!()
        };
        assert_eq!((id.as_str(), secret.as_str(), token), ("AKIA1", "HI/DD=EN", None));
        let run = profiles(Some("run"));
        let Some(Profile::Process { command, .. }) = run.named().unwrap() else { panic!() };
        assert_eq!(command, "/bin/give --all");
        assert_eq!(run.setting("endpoint_url"), Some("https://h"));
        let default = profiles(None);
        assert!(default.named().unwrap().is_none());
        assert_eq!(default.setting("region"), Some("eu-central-1"));
    }

    #[test]
    fn a_named_profile_is_used_or_refused() {
        for (name, what) in [
            ("nigthly", "did you mean `nightly`"),
            ("half", "aws_secret_access_key"),
            ("login", "sso_session"),
            ("lost", "no such"),
        ] {
            let told = format!("{:?}", profiles(Some(name)).named().err().unwrap());
            assert!(told.contains(what) && told.contains(name), "{told}");
        }
        assert!(format!("{:?}", profiles(Some("login")).named().err().unwrap()).contains("credential_process"));
    }
}

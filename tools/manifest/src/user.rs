//! Whom the program runs as.

use std::str::FromStr;

/// A number, or a name to be looked up in the enclave's `/etc/passwd` or `/etc/group`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Id {
    Number(u32),
    Name(String),
}

/// `USER` or `USER:GROUP`, each a name or a number.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct User {
    pub user: Id,
    pub group: Option<Id>,
}

impl FromStr for User {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (user, group) = match text.split_once(':') {
            Some((user, group)) => (user, Some(group)),
            None => (text, None),
        };
        Ok(User {
            user: id(user)?,
            group: group.map(id).transpose()?,
        })
    }
}

fn id(text: &str) -> Result<Id, String> {
    if text.is_empty() || text.contains([':', '\n', '\0']) {
        return Err(
            "expected USER or USER:GROUP, each a name or a number, such as 1000:1000".into(),
        );
    }
    if text.bytes().all(|byte| byte.is_ascii_digit()) {
        // The last number means "leave unchanged" to the kernel and is nobody's.
        return match text.parse() {
            Ok(u32::MAX) | Err(_) => Err(format!("{text} is not a user or group number")),
            Ok(number) => Ok(Id::Number(number)),
        };
    }
    Ok(Id::Name(text.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users() {
        assert_eq!(
            "1000:adm".parse(),
            Ok(User {
                user: Id::Number(1000),
                group: Some(Id::Name("adm".into()))
            })
        );
        for bad in ["", ":", "a:", ":b", "a:b:c", "4294967295", "99999999999"] {
            assert!(bad.parse::<User>().is_err(), "{bad}");
        }
    }
}

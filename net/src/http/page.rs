//! The page for people at `/`, and the list for machines at `/v1/channels`. Pure.
//!
//! All that is put into them are channel names (see [`ChannelName`](super::route::ChannelName)), numbers and a
//! host name that [`shown_host`] let through, none of which can hold a character that HTML or JSON gives a
//! meaning.

use std::fmt::Write;

use super::tree::ChannelState;

/// The `Host` a client used, if it can stand in a page; a placeholder otherwise.
pub(super) fn shown_host(host: Option<&str>) -> &str {
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b':' | b'[' | b']');
    host.filter(|host| (1..=255).contains(&host.len()) && host.bytes().all(plain)).unwrap_or("THIS-HOST")
}

/// `[{"name":…,"generation":…,"timestamp":…,"packages":…,"path":…}]`, sorted by name. `timestamp` is in seconds
/// since 1970, `packages` is null if the index does not say.
pub(super) fn json(channels: &[ChannelState]) -> String {
    let mut text = String::from("[");
    for (position, ChannelState { name, generation, header }) in channels.iter().enumerate() {
        let comma = if position == 0 { "" } else { "," };
        let packages = header.packages.map_or_else(|| "null".to_owned(), |n| n.to_string());
        let timestamp = header.timestamp_secs;
        // Writing into a String cannot fail.
        let _ = write!(
            text,
            "{comma}\n {{\"name\":\"{name}\",\"generation\":{generation},\"timestamp\":{timestamp},\
             \"packages\":{packages},\"path\":\"/binhost/{name}\"}}"
        );
    }
    text.push_str(if channels.is_empty() { "]\n" } else { "\n]\n" });
    text
}

/// What is published and how a machine is made to use it.
pub(super) fn html(channels: &[ChannelState], host: &str, has_key: bool) -> String {
    let mut text = String::from(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head><meta charset=\"utf-8\"><title>Binary packages</title></head>\n\
         <body>\n<h1>Binary packages for Gentoo</h1>\n",
    );
    if channels.is_empty() {
        text.push_str("<p>Nothing is published yet.</p>\n");
    } else {
        table(&mut text, channels);
        let example = channels[0].name.as_str();
        setup(&mut text, example, host, has_key);
    }
    text.push_str("</body>\n</html>\n");
    text
}

fn table(text: &mut String, channels: &[ChannelState]) {
    text.push_str("<table>\n<tr><th>Channel</th><th>Generation</th><th>Packages</th><th>Made</th></tr>\n");
    for ChannelState { name, generation, header } in channels {
        let packages = header.packages.map_or_else(|| "?".to_owned(), |n| n.to_string());
        let made = std::time::UNIX_EPOCH + std::time::Duration::from_secs(header.timestamp_secs);
        let made = httpdate::fmt_http_date(made);
        let _ = writeln!(
            text,
            "<tr><td><a href=\"/binhost/{name}/Packages\">{name}</a></td><td>{generation}</td>\
             <td>{packages}</td><td>{made}</td></tr>"
        );
    }
    text.push_str("</table>\n");
}

fn setup(text: &mut String, channel: &str, host: &str, has_key: bool) {
    let verify = if has_key { "yes" } else { "no" };
    let _ = write!(
        text,
        "<h2>Setting up a client</h2>\n\
         <p>Put this into <code>/etc/portage/binrepos.conf/{channel}.conf</code>:</p>\n\
         <pre>[{channel}]\nsync-uri = http://{host}/binhost/{channel}\npriority = 10\n\
         verify-signature = {verify}\n</pre>\n"
    );
    if has_key {
        let _ = write!(
            text,
            "<p>Packages are signed with <a href=\"/key.asc\">this key</a>. Compare its fingerprint with one you \
             got from somebody you trust, then let Portage trust it:</p>\n\
             <pre>curl -O http://{host}/key.asc\ngpg --show-keys key.asc\n\
             gpg --homedir /etc/portage/gnupg --import key.asc\n\
             echo FINGERPRINT:6: | gpg --homedir /etc/portage/gnupg --import-ownertrust\n\
             gpg --homedir /etc/portage/gnupg --check-trustdb\n\
             chown -R nobody:nogroup /etc/portage/gnupg</pre>\n"
        );
    } else {
        text.push_str(
            "<p>No key is published here: the packages cannot be verified by their signature.</p>\n",
        );
    }
    let _ = writeln!(text, "<p>Then: <code>emerge --ask --getbinpkg PACKAGE</code></p>");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::header::IndexHeader;
    use crate::http::route::ChannelName;

    fn state(name: &str, packages: Option<u64>) -> ChannelState {
        let header = IndexHeader { timestamp_secs: 1_700_000_000, packages };
        ChannelState { name: ChannelName::parse(name).unwrap(), generation: 3, header }
    }

    #[test]
    fn the_list_is_json() {
        assert_eq!(json(&[]), "[]\n");
        assert_eq!(
            json(&[state("a", Some(2)), state("b", None)]),
            "[\n {\"name\":\"a\",\"generation\":3,\"timestamp\":1700000000,\"packages\":2,\"path\":\"/binhost/a\"},\
             \n {\"name\":\"b\",\"generation\":3,\"timestamp\":1700000000,\"packages\":null,\"path\":\"/binhost/b\"}\
             \n]\n"
        );
    }

    #[test]
    fn the_page_shows_no_host_that_is_none() {
        for host in [None, Some(""), Some("<script>"), Some("a b"), Some("a\"b"), Some("a/b")] {
            assert_eq!(shown_host(host), "THIS-HOST");
        }
        assert_eq!(shown_host(Some("[::1]:80")), "[::1]:80");
    }

    #[test]
    fn the_page_tells_how_to_set_up_a_client() {
        let page = html(&[state("stable", Some(2))], "host:1", true);
        assert!(page.contains("sync-uri = http://host:1/binhost/stable\n") && page.contains("/key.asc"));
        assert!(page.contains("verify-signature = yes"));
        assert!(html(&[], "host", false).contains("Nothing is published"));
    }
}

//! Kernel parameters: only those that belong to one of the container's own namespaces.

use std::collections::{BTreeMap, HashMap};

use super::{NamespaceWish, SpecError, Wishes};

/// Parameters of the System V part of an IPC namespace.
const IPC: [&str; 8] = [
    "kernel.msgmax",
    "kernel.msgmnb",
    "kernel.msgmni",
    "kernel.sem",
    "kernel.shmall",
    "kernel.shmmax",
    "kernel.shmmni",
    "kernel.shm_rmid_forced",
];

/// The parameters to set, Docker's two for a network of the container's own included.
pub(super) fn sysctls(wishes: &Wishes) -> Result<HashMap<String, String>, SpecError> {
    let mut all = BTreeMap::new();
    if wishes.network == NamespaceWish::Private {
        all.insert("net.ipv4.ip_unprivileged_port_start".to_owned(), "0".to_owned());
        all.insert("net.ipv4.ping_group_range".to_owned(), "0 2147483647".to_owned());
    }
    for (name, value) in &wishes.sysctls {
        let dotted = dotted(name);
        check(&dotted, wishes)
            .map_err(|problem| SpecError::BadSysctl { name: name.clone(), problem })?;
        all.insert(dotted, value.clone());
    }
    Ok(all.into_iter().collect())
}

/// sysctl(8) takes both separators, and the one that comes first is meant: `net/ipv4/conf/eth0.1/rp_filter`.
fn dotted(name: &str) -> String {
    let swap = |letter| match letter {
        '.' => '/',
        '/' => '.',
        other => other,
    };
    match name.find(['.', '/']) {
        Some(first) if name[first..].starts_with('/') => name.chars().map(swap).collect(),
        _ => name.to_owned(),
    }
}

fn check(name: &str, wishes: &Wishes) -> Result<(), &'static str> {
    if name
        .split('.')
        .any(|part| part.is_empty() || part.split('/').any(|word| word.is_empty() || word == ".."))
    {
        return Err("is not the name of a kernel parameter");
    }
    let shared = |wish: NamespaceWish| wish == NamespaceWish::Host;
    if name == "kernel.hostname" {
        Err("is set by `hostname`")
    } else if name == "kernel.domainname" {
        if shared(wishes.uts) {
            Err("needs a UTS namespace of the container's own")
        } else {
            Ok(())
        }
    } else if name.starts_with("net.") {
        if shared(wishes.network) {
            Err("cannot be set with the network of the host")
        } else {
            Ok(())
        }
    } else if IPC.contains(&name) || name.starts_with("fs.mqueue.") {
        if shared(wishes.ipc) {
            Err("cannot be set with the IPC namespace of the host")
        } else {
            Ok(())
        }
    } else {
        Err("belongs to the whole machine, not to a container")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wish(name: &str) -> Wishes {
        Wishes { sysctls: [(name.to_owned(), "1".to_owned())].into(), ..Wishes::default() }
    }

    #[test]
    fn a_network_of_its_own_gets_dockers_two() {
        let all = sysctls(&wish("net.ipv4.ip_unprivileged_port_start")).unwrap();
        assert_eq!((all["net.ipv4.ip_unprivileged_port_start"].as_str(), all.len()), ("1", 2));
        assert!(
            sysctls(&Wishes { network: NamespaceWish::Host, ..Wishes::default() })
                .unwrap()
                .is_empty()
        );
    }

    #[test]
    fn only_parameters_of_a_namespace_can_be_set() {
        let own = [
            "net/ipv4/conf/eth0.1/rp_filter",
            "kernel.shmmax",
            "fs.mqueue.msg_max",
            "kernel.domainname",
            "net.core.somaxconn",
        ];
        for name in own {
            assert!(sysctls(&wish(name)).is_ok(), "{name}");
        }
        assert!(
            sysctls(&wish("net/ipv4/conf/eth0.1/rp_filter"))
                .unwrap()
                .contains_key("net.ipv4.conf.eth0/1.rp_filter")
        );
        #[rustfmt::skip]
        let table = [
            ("vm.swappiness", "sysctl `vm.swappiness` belongs to the whole machine, not to a container"),
            ("kernel.hostname", "sysctl `kernel.hostname` is set by `hostname`"),
            ("net..x", "sysctl `net..x` is not the name of a kernel parameter"),
            ("net.ipv4./../../x", "sysctl `net.ipv4./../../x` is not the name of a kernel parameter"),
        ];
        for (name, message) in table {
            assert_eq!(sysctls(&wish(name)).unwrap_err().to_string(), message);
        }
        let host = Wishes {
            network: NamespaceWish::Host,
            ipc: NamespaceWish::Host,
            ..wish("net.core.somaxconn")
        };
        assert!(
            sysctls(&host)
                .unwrap_err()
                .to_string()
                .ends_with("cannot be set with the network of the host")
        );
    }
}

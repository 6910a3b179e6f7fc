// SPDX-License-Identifier: GPL-2.0-or-later

//! Which nodes and functions there are, as sysfs tells it.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::Serialize;

/// PCI vendor id of the HSM.
const VENDOR: &str = "0x1414";
/// PCI device id of the HSM.
const DEVICE: &str = "0xc003";
/// Name of the kernel module.
const MODULE: &str = "azihsm";
/// Name of a management node, up to its number.
const MGMT_PREFIX: &str = "azihsm-mgmt";

/// Device classes of the driver; a device has one folder per class.
const CLASSES: [&str; 2] = ["azihsm-hsm", "azihsm-mgmt"];

/// What a node is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Commands of the HSM.
    Hsm,
    /// Management of the virtual functions.
    Mgmt,
}

/// A character device of the driver.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Node {
    /// Name in `/dev`.
    pub name: String,
    /// Path.
    pub path: PathBuf,
    /// What it is for.
    pub kind: Kind,
    /// Device number, "major:minor".
    pub number: String,
}

/// What a function is to Single Root I/O Virtualization.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// It can have virtual functions.
    Physical {
        /// Number of them.
        vfs: u32,
        /// Most that there can be.
        total_vfs: u32,
    },
    /// It is one.
    Virtual {
        /// Number within its physical function.
        index: u32,
        /// PCI address of that.
        physical_function: String,
    },
}

/// A PCI function that is an HSM.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Function {
    /// PCI address.
    pub pci_address: String,
    /// Vendor and device id, "1414:c003".
    pub pci_id: String,
    /// Physical or virtual function; none of both as far as this machine can see.
    pub role: Option<Role>,
    /// Driver bound to it.
    pub driver: Option<String>,
    /// Nodes of the function.
    pub nodes: Vec<Node>,
}

/// What is known about HSMs on this machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Inventory {
    /// Whether the kernel module is loaded.
    pub module_loaded: bool,
    /// Functions, by PCI address.
    pub functions: Vec<Function>,
}

/// No node can be chosen.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoNode {
    /// Nothing on the bus.
    #[error(
        "no HSM found: there is no PCI device 1414:c003\n\
         Check with 'lspci -d 1414:c003' that the virtual machine has one."
    )]
    NoFunction,
    /// Device, no module.
    #[error(
        "no HSM node: PCI device {0} is there, but the module 'azihsm' is not loaded\n\
         Try 'modprobe azihsm' as root."
    )]
    NotLoaded(String),
    /// Device, module, not bound.
    #[error(
        "no HSM node: the module is loaded, but PCI device {0} is not bound to it\n\
         Probing it may have failed: see 'dmesg | grep azihsm'. To try again, as root:\n\
         echo {0} > /sys/bus/pci/drivers/azihsm/bind"
    )]
    NotBound(String),
    /// Device bound to something else.
    #[error(
        "no HSM node: PCI device {address} is bound to the driver '{driver}'\n\
         Unbind it there first."
    )]
    OtherDriver {
        /// PCI address.
        address: String,
        /// Driver.
        driver: String,
    },
    /// Bound, no node.
    #[error(
        "no HSM node: the driver is bound to {0}, but there is no node for it\n\
         See 'dmesg | grep azihsm'."
    )]
    Missing(String),
    /// No physical function.
    #[error(
        "no management node: the driver is bound to no physical function\n\
         Virtual functions are managed on the machine that has the physical one."
    )]
    NoMgmt,
    /// A name that fits nothing.
    #[error("no HSM '{name}'; there {}", .known.as_deref().map_or("is none".into(),
            |known| format!("are: {known}")))]
    Unknown {
        /// What was asked for.
        name: String,
        /// What there is.
        known: Option<String>,
    },
}

impl Inventory {
    /// Reads the inventory from the sysfs mounted at `sys`.
    ///
    /// # Errors
    ///
    /// An error while reading sysfs, other than that something is not there.
    pub fn read(sys: &Path) -> io::Result<Self> {
        let mut functions = Vec::new();
        for path in entries(&sys.join("bus/pci/devices"))? {
            let vendor = attribute(&path.join("vendor"));
            let device = attribute(&path.join("device"));
            if (vendor.as_deref(), device.as_deref()) == (Some(VENDOR), Some(DEVICE)) {
                functions.push(Function::read(&path)?);
            }
        }
        functions.sort_by(|a, b| a.pci_address.cmp(&b.pci_address));
        Ok(Self {
            module_loaded: sys.join("module").join(MODULE).exists(),
            functions,
        })
    }

    /// All HSM nodes, in order.
    fn hsm_nodes(&self) -> impl Iterator<Item = (&Function, &Node)> {
        self.nodes(Kind::Hsm)
    }

    /// All nodes of a kind, in order.
    fn nodes(&self, kind: Kind) -> impl Iterator<Item = (&Function, &Node)> {
        self.functions.iter().flat_map(move |function| {
            let nodes = function.nodes.iter();
            nodes
                .filter(move |node| node.kind == kind)
                .map(move |node| (function, node))
        })
    }

    /// Returns the physical function that `name` means, and its management node: a path or name of the node, or a
    /// PCI address; the first one if there is no name.
    ///
    /// # Errors
    ///
    /// [`NoNode`], which says what is missing.
    pub fn choose_mgmt(&self, name: Option<&str>) -> Result<(&Function, &Node), NoNode> {
        let mut nodes = self.nodes(Kind::Mgmt);
        let Some(name) = name else {
            return nodes.next().ok_or(NoNode::NoMgmt);
        };
        let means = |(function, node): &(&Function, &Node)| {
            node.name == name || node.path == Path::new(name) || function.pci_address == name
        };
        nodes.find(means).ok_or_else(|| {
            let known: Vec<_> = self.nodes(Kind::Mgmt).map(|(_, n)| &*n.name).collect();
            NoNode::Unknown {
                name: name.into(),
                known: (!known.is_empty()).then(|| known.join(", ")),
            }
        })
    }

    /// Returns virtual function number `index` of the physical function at `address`, if it can be seen here.
    pub fn virtual_function(&self, address: &str, index: u32) -> Option<&Function> {
        self.functions.iter().find(|function| {
            matches!(&function.role, Some(Role::Virtual { index: i, physical_function })
                if *i == index && physical_function == address)
        })
    }

    /// Returns the node that `name` means: a path, a node name, a number or a PCI address; the first one if there
    /// is no name.
    ///
    /// A path is taken as it is: it need not be in sysfs.
    ///
    /// # Errors
    ///
    /// [`NoNode`], which says what is missing.
    pub fn choose(&self, name: Option<&str>) -> Result<PathBuf, NoNode> {
        let Some(name) = name else {
            let first = self.hsm_nodes().next();
            return first
                .map(|(_, node)| node.path.clone())
                .ok_or_else(|| self.why_none());
        };
        if name.contains('/') {
            return Ok(name.into());
        }
        let numbered = format!("azihsm{name}");
        self.hsm_nodes()
            .find(|(function, node)| {
                node.name == name || node.name == numbered || function.pci_address == name
            })
            .map(|(_, node)| node.path.clone())
            .ok_or_else(|| {
                let known: Vec<_> = self.hsm_nodes().map(|(_, node)| &*node.name).collect();
                NoNode::Unknown {
                    name: name.into(),
                    known: (!known.is_empty()).then(|| known.join(", ")),
                }
            })
    }

    /// Says why there is no node at all.
    pub fn why_none(&self) -> NoNode {
        let Some(function) = self.functions.first() else {
            return NoNode::NoFunction;
        };
        let address = function.pci_address.clone();
        match &function.driver {
            Some(driver) if driver == MODULE => NoNode::Missing(address),
            Some(driver) => NoNode::OtherDriver {
                address,
                driver: driver.clone(),
            },
            None if self.module_loaded => NoNode::NotBound(address),
            None => NoNode::NotLoaded(address),
        }
    }
}

impl Function {
    /// Reads the function at `path` in sysfs.
    fn read(path: &Path) -> io::Result<Self> {
        let name = |path: &Path| Some(path.file_name()?.to_string_lossy().into_owned());
        let mut nodes = Vec::new();
        for class in CLASSES {
            for entry in entries(&path.join(class))? {
                let (Some(name), Some(number)) = (name(&entry), attribute(&entry.join("dev")))
                else {
                    continue;
                };
                nodes.push(Node {
                    kind: if name.starts_with(MGMT_PREFIX) {
                        Kind::Mgmt
                    } else {
                        Kind::Hsm
                    },
                    path: Path::new("/dev").join(&name),
                    name,
                    number,
                });
            }
        }
        nodes.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(Self {
            pci_address: name(path).unwrap_or_default(),
            pci_id: format!("{}:{}", &VENDOR[2..], &DEVICE[2..]),
            role: Role::read(path)?,
            driver: link_name(&path.join("driver")),
            nodes,
        })
    }
}

impl Role {
    /// Reads the role of the function at `path` in sysfs.
    fn read(path: &Path) -> io::Result<Option<Self>> {
        let number = |name| attribute(&path.join(name))?.parse().ok();
        if let Some(total_vfs) = number("sriov_totalvfs") {
            let vfs = number("sriov_numvfs").unwrap_or(0);
            return Ok(Some(Self::Physical { vfs, total_vfs }));
        }
        let Some(physical_function) = link_name(&path.join("physfn")) else {
            return Ok(None);
        };
        let address = path.file_name().map(|name| name.to_string_lossy());
        for entry in entries(&path.join("physfn"))? {
            let name = entry.file_name().map(|name| name.to_string_lossy());
            let index = name.and_then(|name| name.strip_prefix("virtfn")?.parse().ok());
            if let Some(index) =
                index.filter(|_| link_name(&entry).as_deref() == address.as_deref())
            {
                return Ok(Some(Self::Virtual {
                    index,
                    physical_function,
                }));
            }
        }
        Ok(None)
    }
}

/// Name of what a link leads to.
fn link_name(path: &Path) -> Option<String> {
    let target = fs::read_link(path).ok()?;
    Some(target.file_name()?.to_string_lossy().into_owned())
}

/// Entries of a folder; none if it is not there.
fn entries(path: &Path) -> io::Result<Vec<PathBuf>> {
    match fs::read_dir(path) {
        Ok(entries) => entries.map(|entry| entry.map(|e| e.path())).collect(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}

/// Content of a sysfs attribute.
fn attribute(path: &Path) -> Option<String> {
    fs::read_to_string(path)
        .ok()
        .map(|text| text.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    const ADDRESS: &str = "0000:01:00.0";

    /// A sysfs with the HSM functions given, and another PCI device.
    fn sysfs(addresses: &[&str]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        let add = |address: &str, device: &str| {
            let path = dir.path().join("bus/pci/devices").join(address);
            fs::create_dir_all(&path).unwrap();
            fs::write(path.join("vendor"), "0x1414\n").unwrap();
            fs::write(path.join("device"), device).unwrap();
        };
        add("0000:00:01.0", "0x5353\n");
        for address in addresses {
            add(address, "0xc003\n");
        }
        dir
    }

    fn load(sys: &Path) {
        fs::create_dir_all(sys.join("module/azihsm")).unwrap();
    }

    fn bind(sys: &Path, address: &str, driver: &str) {
        let target = Path::new("../../../../bus/pci/drivers").join(driver);
        symlink(
            target,
            sys.join("bus/pci/devices").join(address).join("driver"),
        )
        .unwrap();
    }

    fn node(sys: &Path, address: &str, name: &str) {
        let class = if name.starts_with(MGMT_PREFIX) {
            "azihsm-mgmt"
        } else {
            "azihsm-hsm"
        };
        let folder = sys.join("bus/pci/devices").join(address).join(class);
        fs::create_dir_all(folder.join(name)).unwrap();
        fs::write(folder.join(name).join("dev"), "240:0\n").unwrap();
        // Other things in that folder are no nodes.
        fs::create_dir_all(folder.join("power")).unwrap();
    }

    #[test]
    fn missing_things_are_named() {
        let sys = sysfs(&[]);
        let why = |sys: &Path| Inventory::read(sys).unwrap().choose(None).unwrap_err();
        assert_eq!(why(sys.path()), NoNode::NoFunction);

        let sys = sysfs(&[ADDRESS]);
        assert_eq!(why(sys.path()), NoNode::NotLoaded(ADDRESS.into()));
        load(sys.path());
        assert_eq!(why(sys.path()), NoNode::NotBound(ADDRESS.into()));
        bind(sys.path(), ADDRESS, "azihsm");
        assert_eq!(why(sys.path()), NoNode::Missing(ADDRESS.into()));

        let sys = sysfs(&[ADDRESS]);
        bind(sys.path(), ADDRESS, "vfio-pci");
        assert!(why(sys.path()).to_string().contains("vfio-pci"));
    }

    #[test]
    fn no_sysfs_is_no_function() {
        let inventory = Inventory::read(Path::new("/nonexistent")).unwrap();
        assert_eq!(inventory.why_none(), NoNode::NoFunction);
    }

    #[test]
    fn a_node_has_many_names() {
        let sys = sysfs(&["0000:02:00.0", ADDRESS]);
        load(sys.path());
        for (address, name) in [(ADDRESS, "azihsm0"), ("0000:02:00.0", "azihsm1")] {
            bind(sys.path(), address, "azihsm");
            node(sys.path(), address, name);
        }
        node(sys.path(), ADDRESS, "azihsm-mgmt0");

        let inventory = Inventory::read(sys.path()).unwrap();
        assert!(inventory.module_loaded);
        let first = &inventory.functions[0];
        assert_eq!(first.pci_address, ADDRESS);
        assert_eq!(first.pci_id, "1414:c003");
        assert_eq!(first.driver.as_deref(), Some("azihsm"));
        let kinds: Vec<_> = first.nodes.iter().map(|n| (&*n.name, n.kind)).collect();
        assert_eq!(
            kinds,
            [("azihsm-mgmt0", Kind::Mgmt), ("azihsm0", Kind::Hsm)]
        );

        let choose = |name| {
            inventory
                .choose(name)
                .map(|path| path.display().to_string())
        };
        assert_eq!(choose(None).unwrap(), "/dev/azihsm0");
        assert_eq!(choose(Some("azihsm1")).unwrap(), "/dev/azihsm1");
        assert_eq!(choose(Some("1")).unwrap(), "/dev/azihsm1");
        assert_eq!(choose(Some("0000:02:00.0")).unwrap(), "/dev/azihsm1");
        assert_eq!(choose(Some("/dev/x")).unwrap(), "/dev/x");
        let error = choose(Some("azihsm7")).unwrap_err().to_string();
        assert!(error.contains("azihsm0, azihsm1"), "{error}");
        // The management node takes no HSM commands.
        assert!(choose(Some("azihsm-mgmt0")).is_err());
    }

    #[test]
    fn functions_have_roles() {
        const VF: &str = "0000:01:00.1";
        let sys = sysfs(&[ADDRESS, VF, "0000:02:00.0"]);
        let device = |address: &str| sys.path().join("bus/pci/devices").join(address);
        fs::write(device(ADDRESS).join("sriov_totalvfs"), "7\n").unwrap();
        fs::write(device(ADDRESS).join("sriov_numvfs"), "1\n").unwrap();
        symlink(Path::new("..").join(VF), device(ADDRESS).join("virtfn0")).unwrap();
        symlink(Path::new("..").join(ADDRESS), device(VF).join("physfn")).unwrap();
        let inventory = Inventory::read(sys.path()).unwrap();
        let roles: Vec<_> = inventory.functions.iter().map(|f| f.role.clone()).collect();
        let physical = Role::Physical {
            vfs: 1,
            total_vfs: 7,
        };
        let virt = Role::Virtual {
            index: 0,
            physical_function: ADDRESS.into(),
        };
        assert_eq!(roles, [Some(physical), Some(virt), None]);
        let vf = |index| {
            let function = inventory.virtual_function(ADDRESS, index)?;
            Some(function.pci_address.clone())
        };
        assert_eq!(vf(0).as_deref(), Some(VF));
        assert_eq!(vf(1), None);
    }

    #[test]
    fn a_management_node_has_names_too() {
        let sys = sysfs(&[ADDRESS]);
        let inventory = Inventory::read(sys.path()).unwrap();
        assert_eq!(inventory.choose_mgmt(None), Err(NoNode::NoMgmt));
        load(sys.path());
        bind(sys.path(), ADDRESS, "azihsm");
        node(sys.path(), ADDRESS, "azihsm0");
        node(sys.path(), ADDRESS, "azihsm-mgmt0");
        let inventory = Inventory::read(sys.path()).unwrap();
        let choose = |name| inventory.choose_mgmt(name).map(|(_, node)| &*node.name);
        for name in [
            None,
            Some("azihsm-mgmt0"),
            Some("/dev/azihsm-mgmt0"),
            Some(ADDRESS),
        ] {
            assert_eq!(choose(name), Ok("azihsm-mgmt0"));
        }
        let error = choose(Some("azihsm0")).unwrap_err().to_string();
        assert!(error.contains("azihsm-mgmt0"), "{error}");
    }
}

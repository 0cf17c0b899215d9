//! GUIDs that name our partitions and variables. Slots are told apart by type, so that they can be
//! found even when both copies of the boot record are lost.

use crate::Guid;

/// Type of the EFI system partition (UEFI 2.10, 5.3.3).
pub const ESP_TYPE: Guid = Guid::from_fields(0xc12a_7328, 0xf81f, 0x11d2, 0xba4b_00a0_c93e_c93b);
/// Type of `rayos-state`, which holds the boot record and the event ring.
pub const STATE_TYPE: Guid = Guid::from_fields(0x6c67_6a6c, 0x78d6, 0x4e96, 0x909a_4bdd_1c9e_ad12);
/// Type of `boot-a`.
pub const BOOT_A_TYPE: Guid = Guid::from_fields(0xd35f_9ab0, 0x2806, 0x49c9, 0xb0a5_dc10_32bc_ab4e);
/// Type of `boot-b`.
pub const BOOT_B_TYPE: Guid = Guid::from_fields(0x7552_2deb, 0x9b7a, 0x4de4, 0x8872_974e_d9d6_feb5);
/// Type of `root-a`.
pub const ROOT_A_TYPE: Guid = Guid::from_fields(0x7b1d_4dea, 0x2d01, 0x4644, 0xa9dc_036d_a98a_cc9b);
/// Type of `root-b`.
pub const ROOT_B_TYPE: Guid = Guid::from_fields(0x92f1_99f9, 0xdf4b, 0x484c, 0x9f09_0418_f355_c4e9);
/// Type of `recovery`.
pub const RECOVERY_TYPE: Guid =
    Guid::from_fields(0x75ba_574c, 0x6c44, 0x4495, 0x9203_56b5_9367_3891);
/// Type of `data`.
pub const DATA_TYPE: Guid = Guid::from_fields(0x3868_540f, 0x0576, 0x487c, 0x971d_e96a_7dc7_158b);

/// Vendor GUID of our own EFI variables.
pub const VENDOR: Guid = Guid::from_fields(0xb269_79f1, 0x9f36, 0x4d93, 0x800d_db99_4868_7231);

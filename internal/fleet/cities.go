package fleet

// city is the home of vehicles: a centre with land for at least roamRadius
// around it, its altitude in metres, and the code of a mobile operator (MCC
// and MNC in one number, as in AVL id 241).
//
// No city is near the equator or the prime meridian: JavaScript writes numbers
// below 1e-6 with an exponent, and the encoder here does not.
type city struct {
	lat, lon float64
	altitude float64
	operator int64
}

func cities() []city {
	return []city{
		{54.6872, 25.2797, 112, 24601},    // Vilnius
		{52.2297, 21.0122, 100, 26001},    // Warsaw
		{52.5200, 13.4050, 40, 26201},     // Berlin
		{50.0755, 14.4378, 200, 23001},    // Prague
		{48.2082, 16.3738, 171, 23201},    // Vienna
		{48.1351, 11.5820, 520, 26202},    // Munich
		{48.8566, 2.3522, 40, 20801},      // Paris
		{40.4168, -3.7038, 657, 21401},    // Madrid
		{45.4642, 9.1900, 120, 22201},     // Milan
		{44.4268, 26.1025, 70, 22601},     // Bucharest
		{39.9334, 32.8597, 938, 28601},    // Ankara
		{-1.2921, 36.8219, 1795, 63902},   // Nairobi
		{-26.2041, 28.0473, 1753, 65501},  // Johannesburg
		{28.6139, 77.2090, 216, 40410},    // Delhi
		{19.4326, -99.1332, 2240, 334020}, // Mexico City
		{39.7392, -104.9903, 1609, 31041}, // Denver
		{4.7110, -74.0721, 2640, 732101},  // Bogota
		{-33.4489, -70.6693, 570, 73002},  // Santiago
		{-35.2809, 149.1300, 577, 50501},  // Canberra
	}
}
